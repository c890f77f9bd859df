// Buttons that change something: ask where it costs something, send it, say what came of it, show it at once.
import { confirmed } from "./dialog.js";
import { refresh } from "./live.js";
import { go } from "./navigation.js";
import { notice } from "./notices.js";
import { send } from "./request.js";
import { signIn } from "./session.js";
import { fill, text } from "./texts.js";

export function watchActions() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-act], button[data-refresh], button[data-sign-in], button[data-export]");
    if (!button || button.disabled) return;
    if ("signIn" in button.dataset) signIn();
    else if ("refresh" in button.dataset) atWork(button, refreshNow);
    else if ("export" in button.dataset) atWork(button, download);
    else act(button);
  });
  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-plan]");
    if (!form) return;
    event.preventDefault();
    plan(form);
  });
}

async function refreshNow(button) {
  if (await refresh()) notice(button.dataset.done);
}

async function act(button) {
  const { act: address, method, confirm, typed, done } = button.dataset;
  if (confirm && !(await confirmed(button.textContent.trim(), confirm, typed))) return;
  await atWork(button, async () => {
    const body = button.dataset.body ? JSON.parse(button.dataset.body) : undefined;
    const answer = await send(address, { method, body });
    if (done) notice(done);
    await ("follow" in button.dataset ? follow(answer) : refresh());
  });
}

/** Show the task that an answer speaks of on this page, with its progress. */
async function follow(answer) {
  const query = new URLSearchParams(location.search);
  query.set("task", answer.headers.get("Location").split("/").pop());
  await go(`${location.pathname}?${query}`);
  document.querySelector(".task")?.scrollIntoView({ block: "nearest" });
}

/** A form that asks for a plan: an operation with `dry_run`, whose result is shown before anything is done. */
async function plan(form) {
  const { days, ...chosen } = Object.fromEntries(new FormData(form));
  const wish = { ...chosen, days: days ? Number(days) : null, dry_run: true };
  await atWork(form.querySelector("[type=submit]"), async () => {
    const answer = await send(form.dataset.act, { method: "POST", body: { name: form.dataset.name, arguments: wish } });
    await follow(answer);
  });
}

/** Save what an address answers: a link could not send the token. */
async function download(button) {
  const blob = await (await send(button.dataset.export)).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = button.dataset.name;
  link.click();
  URL.revokeObjectURL(link.href);
  notice(button.dataset.done);
}

/** Do `work` while the button shows that it is at work; tell what goes wrong. */
export async function atWork(button, work) {
  button.disabled = true;
  button.setAttribute("aria-busy", "true");
  try {
    await work(button);
  } catch (problem) {
    const name = problem.status === 403 || problem.status === 401 ? "refused" : "failedRequest";
    notice(fill(text(name), { reason: problem.message }), "bad");
  } finally {
    button.disabled = false;
    button.removeAttribute("aria-busy");
    // A button that was disabled has lost the focus.
    if (document.activeElement === document.body && button.isConnected) button.focus({ preventScroll: true });
  }
}
