// Asks before something that costs: yes or no, or a name typed in for what cannot be undone.
import { text } from "./texts.js";

const dialog = document.getElementById("confirm");
const form = dialog.querySelector("form");
const typing = document.getElementById("confirm-type");
const field = typing.querySelector("input");
const yes = form.querySelector('[value="yes"]');

/** Ask; resolves to true only for a clear yes. With `typed` that word has to be typed in first. */
export function confirmed(title, question, typed = "") {
  document.getElementById("confirm-title").textContent = title;
  document.getElementById("confirm-text").textContent = question;
  typing.hidden = !typed;
  typing.querySelector("span").textContent = text("typeToConfirm", { name: typed });
  field.value = "";
  const judge = () => { yes.disabled = Boolean(typed) && field.value !== typed; };
  judge();
  field.oninput = judge;
  yes.classList.toggle("danger", Boolean(typed));
  dialog.returnValue = "no";
  dialog.showModal();
  (typed ? field : yes).focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes" && !yes.disabled), { once: true });
  });
}

// Return in the field would take the form's first button, which is "no".
field.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  if (!yes.disabled) yes.click();
});
