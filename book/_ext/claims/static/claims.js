/* Filters of the page of claims. A link to a row that is filtered out shows all rows again. */
(() => {
  const form = document.querySelector(".claims-filter");
  if (!form) return;
  const cards = [...document.querySelectorAll(".claim")].map((card) => ({ card, words: card.textContent.toLowerCase() }));
  const groups = [...document.querySelectorAll(".claims-group")];
  const [chapter, verdict] = form.querySelectorAll("select");
  const words = form.querySelector("input");
  const shown = form.querySelector("output");

  function apply() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const { card, words: text } of cards) {
      const has = (control) => !control.value || card.classList.contains(control.value);
      card.hidden = !(has(chapter) && has(verdict) && wanted.every((word) => text.includes(word)));
      count += !card.hidden;
    }
    for (const group of groups) group.hidden = !group.querySelector(".claim:not([hidden])");
    shown.textContent = `${count} of ${cards.length} shown`;
  }

  function reveal() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    const card = target && target.closest(".claim");
    if (!card || !card.hidden) return;
    form.reset();
    apply();
    card.scrollIntoView();
  }

  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", reveal);
  form.hidden = false;
  apply();
})();
