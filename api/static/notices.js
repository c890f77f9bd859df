// Short messages in a corner, which screen readers read out; one of them may show how far something is.
import { text } from "./texts.js";

const region = document.getElementById("notices");
const SHOWN_MILLISECONDS = 6000;

/** Show a message; returns functions that change it and take it away. A problem stays until it is closed. */
export function notice(words, kind = "good", { stays = kind === "bad" } = {}) {
  const box = document.createElement("div");
  box.className = `notice ${kind}`;
  const said = document.createElement("p");
  said.textContent = words;
  const close = document.createElement("button");
  close.type = "button";
  close.className = "quiet small";
  close.textContent = "×";
  close.setAttribute("aria-label", text("close"));
  const remove = () => box.remove();
  close.addEventListener("click", remove);
  box.append(said, close);
  region.append(box);
  if (!stays) setTimeout(remove, SHOWN_MILLISECONDS);
  return {
    remove,
    say: (changed) => { said.textContent = changed; },
    progress(done, all) {
      let bar = box.querySelector("progress");
      if (!bar) {
        bar = document.createElement("progress");
        bar.setAttribute("aria-label", words);
        box.append(bar);
      }
      bar.max = Math.max(all, 1);
      bar.value = done;
    },
  };
}
