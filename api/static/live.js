// Keeps the page fresh: asks every two seconds, and is sent only the parts that have changed.
import { morph } from "./morph.js";
import { notice } from "./notices.js";
import { send, token } from "./request.js";
import { text } from "./texts.js";
import { dress, duration } from "./times.js";

const EVERY_MILLISECONDS = 2000;
const page = document.getElementById("page");
const locked = document.getElementById("locked");
const parser = new DOMParser();
let asked = 0;
let silentSince = null;
let complaint = null;
let notBefore = 0;

/** Fetch what has changed at `address` and show it; resolves to whether it was shown. */
export async function refresh(address = location.pathname + location.search) {
  // Nothing comes of an address that leads nowhere, whoever signs in there.
  if (page.querySelector("[data-final]")) return false;
  const mine = ++asked;
  try {
    const have = [...page.querySelectorAll("[data-version]")].map((each) => each.dataset.version);
    const answer = await send(address, { headers: { "X-Parts": have.join(",") } });
    const received = parser.parseFromString(`<main>${await answer.text()}</main>`, "text/html").querySelector("main");
    // The reader has gone on to another filter or page meanwhile.
    if (mine !== asked) return false;
    show(received);
    answered();
    return true;
  } catch (problem) {
    if (mine === asked) failed(problem);
    return false;
  }
}

function show(received) {
  received.id = "page";
  received.tabIndex = -1;
  morph(page, received);
  locked.hidden = true;
  dress(page);
  document.dispatchEvent(new CustomEvent("fresh"));
}

/** Take what is shown away: it needs a token that is not there (any more). */
export function lock() {
  page.replaceChildren();
  page.setAttribute("data-locked", "");
  locked.hidden = false;
}

function answered() {
  complaint?.remove();
  if (complaint) notice(text("online"));
  complaint = silentSince = null;
}

function failed(problem) {
  if (problem.status === 401) {
    lock();
    document.dispatchEvent(new CustomEvent("unauthorized"));
    return;
  }
  if (problem.status === 429) {
    notBefore = Date.now() + 1000 * (problem.retryAfter || 5);
    notice(text("slowDown", { seconds: problem.retryAfter || 5 }), "plain");
    return;
  }
  silentSince ??= Date.now();
  const words = problem.status
    ? text("failedRequest", { reason: problem.message })
    : text("offline", { age: duration((Date.now() - silentSince) / 1000) });
  if (complaint) complaint.say(words);
  else complaint = notice(words, "bad", { stays: true });
}

/** A page that nobody sees asks for nothing, nor does one of what does not exist. */
function wanted() {
  return !document.hidden && !page.querySelector("[data-final]") && (!page.hasAttribute("data-locked") || token.get());
}

async function round() {
  if (wanted() && Date.now() >= notBefore) await refresh();
  setTimeout(round, EVERY_MILLISECONDS);
}

export function startLive() {
  document.addEventListener("visibilitychange", () => wanted() && refresh());
  round();
}
