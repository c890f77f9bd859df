// Makes what is shown equal to what was received and touches nothing that is equal already, so that focus, selection,
// scroll and what is being typed stay. Elements are told apart by `data-key`, else by their place and kind.

/** Given an element of the page and its successor, change the first into the second. */
export function morph(shown, received) {
  if (received.hasAttribute("data-kept")) return;
  copyAttributes(shown, received);
  morphChildren(shown, received);
}

function morphChildren(shown, received) {
  const keyed = new Map();
  for (const child of shown.children) if (child.dataset.key) keyed.set(child.dataset.key, child);
  let place = shown.firstChild;
  for (const next of [...received.childNodes]) {
    const key = next.nodeType === Node.ELEMENT_NODE ? next.dataset.key : undefined;
    let found = key === undefined ? place : keyed.get(key);
    // Something with a key waits for its own successor.
    while (key === undefined && found && isKeyed(found)) found = found.nextSibling;
    if (found && alike(found, next)) {
      if (found !== place) shown.insertBefore(found, place);
      else place = place.nextSibling;
      if (next.nodeType === Node.ELEMENT_NODE) morph(found, next);
      else if (found.data !== next.data) found.data = next.data;
    } else {
      shown.insertBefore(document.adoptNode(next), place);
    }
  }
  while (place) {
    const after = place.nextSibling;
    place.remove();
    place = after;
  }
}

const isKeyed = (node) => node.nodeType === Node.ELEMENT_NODE && Boolean(node.dataset.key);

const alike = (one, other) =>
  one.nodeType === other.nodeType && one.nodeName === other.nodeName &&
  (one.nodeType !== Node.ELEMENT_NODE || one.dataset.key === other.dataset.key);

// The reader's own: an opened detail, a button at work.
const OWN = { DETAILS: ["open"], BUTTON: ["disabled", "aria-busy"], DIALOG: ["open"] };

function copyAttributes(shown, received) {
  const own = OWN[shown.nodeName.toUpperCase()] ?? [];
  // What the reader has typed or chosen stays, until the service itself says something else than before.
  const anew = (name) => shown.getAttribute(name) !== received.getAttribute(name);
  const value = shown.nodeName === "INPUT" && anew("value") && shown !== document.activeElement;
  const selected = shown.nodeName === "OPTION" && anew("selected");
  for (const { name, value } of [...received.attributes])
    if (!own.includes(name) && shown.getAttribute(name) !== value) shown.setAttribute(name, value);
  for (const { name } of [...shown.attributes])
    if (!own.includes(name) && !received.hasAttribute(name)) shown.removeAttribute(name);
  if (value) shown.value = received.getAttribute("value") ?? "";
  if (selected) shown.selected = received.hasAttribute("selected");
}
