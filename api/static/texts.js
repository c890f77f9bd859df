// The texts that the script itself shows come with the page, in its language.
const texts = document.getElementById("texts").dataset;

/** Return the text called `name`, each `{word}` in it replaced by what `values` gives for it. */
export function text(name, values = {}) {
  return fill(texts[name] ?? name, values);
}

/** Replace each `{word}` of a text. */
export function fill(pattern, values) {
  return pattern.replace(/\{(\w+)\}/g, (whole, word) => (word in values ? String(values[word]) : whole));
}
