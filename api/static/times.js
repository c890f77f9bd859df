// Ages that grow and moments in the reader's own time zone.
const page = document.documentElement;
const [second, minute, hour, day] = page.dataset.units.split(",");
const clock = new Intl.DateTimeFormat(page.lang === "zh-CN" ? "zh-CN" : "sv-SE", {
  year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false,
});
// What the daemon's clock is ahead of the browser's, in seconds; learnt from each answer.
let ahead = 0;

/** Return seconds as the server tells them. */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} ${second}`;
  if (whole < 3600) return `${Math.floor(whole / 60)} ${minute}`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} ${hour} ${Math.floor((whole % 3600) / 60)} ${minute}`;
  return `${Math.floor(whole / 86400)} ${day} ${Math.floor((whole % 86400) / 3600)} ${hour}`;
}

/** Learn the daemon's clock from an answer's Date header. */
export function setClock(date) {
  const theirs = Date.parse(date ?? "") / 1000;
  if (Number.isFinite(theirs) && Math.abs(theirs - Date.now() / 1000 - ahead) > 2) ahead = theirs - Date.now() / 1000;
}

/** Bring the times below `root` up to date; a text is touched only where it changes. */
export function dress(root = document) {
  const now = Date.now() / 1000 + ahead;
  for (const each of root.querySelectorAll("time[data-since]")) set(each, duration(now - Number(each.dataset.since)));
  for (const each of root.querySelectorAll("time[data-at]")) set(each, clock.format(new Date(Number(each.dataset.at) * 1000)));
}

function set(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

export function startTimes() {
  dress();
  setInterval(() => document.hidden || dress(), 1000);
}
