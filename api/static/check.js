// "Check now" for the whole fleet, with a bar that shows how many servers have been polled since.
import { atWork } from "./actions.js";
import { confirmed } from "./dialog.js";
import { refresh } from "./live.js";
import { notice } from "./notices.js";
import { send } from "./request.js";
import { fill } from "./texts.js";

const LOOK_MILLISECONDS = 400;
const PATIENCE_MILLISECONDS = 120_000;

export function watchCheckAll() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-check-all]");
    if (!button || button.disabled) return;
    if (await confirmed(button.textContent.trim(), button.dataset.confirm)) await atWork(button, checkAll);
  });
}

async function checkAll(button) {
  const { going, done } = button.dataset;
  const { now } = await look(0);
  await send("/check/all", { method: "POST" });
  const said = notice(fill(going, { done: 0, all: "…" }), "plain", { stays: true });
  const deadline = Date.now() + PATIENCE_MILLISECONDS;
  try {
    while (Date.now() < deadline) {
      const { polled_since: polled, fleet } = await look(now);
      said.progress(polled, fleet);
      said.say(fill(going, { done: polled, all: fleet }));
      if (polled >= fleet) {
        notice(fill(done, { all: fleet }));
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MILLISECONDS));
    }
  } finally {
    said.remove();
  }
  await refresh();
}

async function look(since) {
  return (await send(`/api/servers?page_size=1&since=${since}`)).json();
}
