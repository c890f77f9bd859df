// Filters, sorting and paging without loading the page anew. The address says all of it, so a reload keeps it.
import { refresh } from "./live.js";

const TYPING_MILLISECONDS = 250;
let typing;

/** Go to an address of this page: its content is fetched, focus and scroll stay. */
export async function go(address, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", address);
  await refresh();
}

function addressOf(form) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of new FormData(form)) value ? query.set(name, value) : query.delete(name);
  for (const name of ["page", "cursor"]) query.delete(name);
  return `${location.pathname}${query.size ? `?${query}` : ""}`;
}

export function watchNavigation() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-go]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    go(link.href);
  });
  document.addEventListener("input", (event) => {
    const form = event.target.closest("form[data-filter]");
    if (!form || event.target.nodeName === "SELECT") return;
    clearTimeout(typing);
    // Each letter would be a step back in the browser's history.
    typing = setTimeout(() => go(addressOf(form), { replace: true }), TYPING_MILLISECONDS);
  });
  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-filter]");
    if (form && event.target.nodeName === "SELECT") go(addressOf(form));
  });
  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-filter]");
    if (!form) return;
    event.preventDefault();
    clearTimeout(typing);
    go(addressOf(form));
  });
  addEventListener("popstate", () => refresh());
}
