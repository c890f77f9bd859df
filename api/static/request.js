// Every request that the pages make: with the token, if there is one; never with a cookie. What is said to it, such as
// why it is refused, is in the page's language, whatever the browser would rather have.
import { setClock } from "./times.js";

const KEY = "cache-keeper-token";

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  drop: () => sessionStorage.removeItem(KEY),
};

/** An answer that is no success: `status`, and `message` in the service's words. */
export class Refused extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Send a request; throws Refused for an answer that is no success, TypeError when nobody answers. */
export async function send(address, { method = "GET", headers = {}, body, bearer = token.get() } = {}) {
  const sent = { "Accept-Language": document.documentElement.lang, ...headers };
  if (bearer) sent.Authorization = `Bearer ${bearer}`;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  const answer = await fetch(address, {
    method, headers: sent, body: body === undefined ? undefined : JSON.stringify(body),
    credentials: "omit", cache: "no-store", redirect: "error",
  });
  setClock(answer.headers.get("Date"));
  if (!answer.ok) throw new Refused(answer.status, await reason(answer), Number(answer.headers.get("Retry-After")) || 0);
  return answer;
}

async function reason(answer) {
  try {
    const { detail, error, message } = await answer.json();
    const said = detail ?? error ?? message;
    if (typeof said === "string") return said;
    if (Array.isArray(said)) return said.map((each) => each.msg ?? JSON.stringify(each)).join("; ");
    if (said?.message) return said.message;
  } catch {
    // No JSON: the status has to do.
  }
  return `${answer.status} ${answer.statusText}`.trim();
}
