// Buttons that change something: ask where it costs something, send it, say what came of it, show it at once.
import { confirmed } from "./dialog.js";
import { refresh } from "./live.js";
import { notice } from "./notices.js";
import { send } from "./request.js";
import { signIn } from "./session.js";
import { fill, text } from "./texts.js";

export function watchActions() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-act], button[data-refresh], button[data-sign-in]");
    if (!button || button.disabled) return;
    if ("signIn" in button.dataset) signIn();
    else if ("refresh" in button.dataset) atWork(button, refreshNow);
    else act(button);
  });
}

async function refreshNow(button) {
  if (await refresh()) notice(button.dataset.done);
}

async function act(button) {
  const { act: address, method, confirm, typed, done } = button.dataset;
  if (confirm && !(await confirmed(button.textContent.trim(), confirm, typed))) return;
  await atWork(button, async () => {
    await send(address, { method, body: button.dataset.body ? JSON.parse(button.dataset.body) : undefined });
    if (done) notice(done);
    await refresh();
  });
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
