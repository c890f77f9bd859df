// The language that was chosen once is taken again the next time; it is kept in this browser, not in a cookie.
const KEY = "cache-keeper-language";

export function rememberLanguage() {
  const shown = document.documentElement.dataset.language;
  const query = new URLSearchParams(location.search);
  const wished = localStorage.getItem(KEY);
  if (query.get("lang")) localStorage.setItem(KEY, shown);
  else if (wished && wished !== shown && ["en", "zh"].includes(wished)) {
    query.set("lang", wished);
    // No path: one that begins with two slashes would be another site.
    location.replace(`?${query}${location.hash}`);
  }
  document.getElementById("language").addEventListener("click", (event) => {
    // The link was made when the page was loaded: the filter may have changed since.
    event.preventDefault();
    const chosen = event.currentTarget.dataset.language;
    localStorage.setItem(KEY, chosen);
    const now = new URLSearchParams(location.search);
    now.set("lang", chosen);
    location.assign(`?${now}`);
  });
}
