for (const figure of document.querySelectorAll(".ntk-explorer:not([data-ready])")) {
  figure.dataset.ready = "";
  const { frames, alts, values } = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
  const image = figure.querySelector("img");
  const spoken = figure.querySelector(".ntk-spoken");
  const controls = [...figure.querySelectorAll(".ntk-controls input, .ntk-controls select")];
  frames[frames.indexOf(null)] = image.src;

  const show = () => {
    const frame = controls.reduce((index, control, k) => index * values[k].length + Number(control.value), 0);
    image.src = frames[frame];
    image.alt = alts[frame];
  };
  controls.forEach((control, k) => {
    control.addEventListener("input", () => {
      const output = control.parentElement.querySelector("output");
      if (output) {
        output.value = values[k][control.value];
        control.setAttribute("aria-valuetext", output.value);
      }
      show();
    });
    control.addEventListener("change", () => { spoken.textContent = image.alt; });
  });
  figure.querySelector(".ntk-controls").hidden = false;
}
