// Keeps the newest question in view and the cursor in the box.
() => {
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const touch = matchMedia("(pointer: coarse)"); // where focus would raise a keyboard
  const all = (selector) => [...document.querySelectorAll(selector)];
  let shown = null;

  const follow = () => {
    const box = document.querySelector("#question textarea");
    if (!box) return;
    // Gradio labels each message with its source, tags and all: the text itself reads better.
    all("#transcript [data-testid][aria-label]").forEach((message) =>
      message.removeAttribute("aria-label"),
    );
    const newest = all("#transcript .message-content").at(-1)?.textContent ?? "";
    if (newest === shown) return;
    shown = newest;
    all("#transcript .question")
      .at(-1)
      ?.scrollIntoView({ behavior: still.matches ? "auto" : "smooth", block: "start" });
    if (!touch.matches && !document.activeElement?.closest("#transcript")) {
      box.focus({ preventScroll: true });
    }
  };

  new MutationObserver(follow).observe(document.body, { childList: true, subtree: true });
  follow();
}
