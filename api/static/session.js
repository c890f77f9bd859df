// Signing in: a token that is pasted, kept for this tab only, and asked after once whose it is.
import { refresh } from "./live.js";
import { notice } from "./notices.js";
import { Refused, send, token } from "./request.js";
import { text } from "./texts.js";

const dialog = document.getElementById("sign-in");
const form = dialog.querySelector("form");
const problem = dialog.querySelector(".problem");
const who = document.getElementById("who");
const button = document.getElementById("sign");

/** Open the dialog that takes a token. */
export function signIn() {
  problem.hidden = true;
  form.reset();
  dialog.showModal();
}

export async function startSession() {
  document.addEventListener("unauthorized", expired);
  button.addEventListener("click", () => (token.get() ? signOut() : signIn()));
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    take(form.elements.token.value.trim());
  });
  if (!token.get()) return;
  try {
    show(await ask(token.get()));
  } catch (refused) {
    // Run out or withdrawn since it was pasted; anything else may pass.
    if (refused.status === 401) expired();
  }
}

async function expired() {
  // Told once, however many requests it was refused to.
  if (!token.get()) return;
  token.drop();
  show(null);
  notice(text("tokenEnded"), "bad");
  await refresh();
}

async function ask(bearer) {
  return (await send("/api/me", { bearer })).json();
}

async function take(pasted) {
  try {
    // Without any token this machine's readers are answered too, as nobody in particular.
    if (!pasted) throw new Refused(401, text("tokenEmpty"));
    const me = await ask(pasted);
    token.set(pasted);
    show(me);
    dialog.close();
    notice(text("signedIn", { user: me.user, role: text(me.role) }));
    await refresh();
  } catch (refused) {
    problem.textContent = text(refused.status === 401 ? "tokenWrong" : "failedRequest", { reason: refused.message });
    problem.hidden = false;
    form.elements.token.select();
  }
}

async function signOut() {
  token.drop();
  show(null);
  notice(text("signedOut"));
  await refresh();
}

function show(me) {
  who.hidden = !me;
  who.textContent = me ? `${me.user} · ${text(me.role)}` : "";
  button.textContent = me ? button.dataset.out : button.dataset.in;
}
