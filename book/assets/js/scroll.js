// A formula that is wider than its column scrolls in its own box; the keyboard must be able to reach that box.
// MathJax sets formulas as they come into view, so each is looked at once it has changed, and after a resize.
document.addEventListener("DOMContentLoaded", () => {
  const boxes = "div.math, mjx-container";
  const changed = new Set();
  const mark = () => {
    const wide = new Set([...changed].filter((box) => box.isConnected && box.scrollWidth > box.clientWidth + 1));
    changed.forEach((box) => (wide.has(box) ? box.setAttribute("tabindex", "0") : box.removeAttribute("tabindex")));
    changed.clear();
  };
  const look = (elements) => {
    if (changed.size === 0) requestAnimationFrame(mark);
    elements.forEach((box) => changed.add(box));
  };
  new MutationObserver((records) => {
    const found = new Set();
    for (const { target } of records) {
      for (let box = target.closest(boxes); box; box = box.parentElement.closest(boxes)) found.add(box);
      if (target.matches(".math")) target.querySelectorAll(boxes).forEach((box) => found.add(box));
    }
    if (found.size > 0) look(found);
  }).observe(document.body, { childList: true, subtree: true });
  window.addEventListener("resize", () => look(document.querySelectorAll(boxes)));
});
