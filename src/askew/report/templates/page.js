"use strict";
// A command is copied by its button, or selected where the browser gives no clipboard to a file.
for (const box of document.querySelectorAll(".command")) {
  const text = box.querySelector("pre");
  const button = box.querySelector("button");
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
// A box that scrolls can be reached by the keyboard; one that fits is no stop on the way.
const marked = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});
for (const box of document.querySelectorAll(".scroll")) marked.observe(box);
