// Quizzes and predictions: move the answers from their disclosure to where the reader is told.
for (const ask of document.querySelectorAll(".ask")) {
  const button = ask.querySelector("button");
  const result = ask.querySelector(".ask-result");
  const inputs = [...ask.querySelectorAll("fieldset input")];
  const answers = [...ask.querySelectorAll(".ask-answer")];
  const message = document.createElement("p");
  for (const node of [message, ...answers]) {
    node.hidden = true;
    result.append(node);
  }
  ask.querySelector("details").remove();
  button.hidden = false;

  const say = (words) => {
    message.textContent = words;
    message.hidden = false;
  };
  const chosen = () => inputs.filter((input) => input.checked);

  const check = () => {
    const picked = new Set(chosen().map((input) => input.value));
    if (picked.size === 0) return say("Choose an answer first.");
    let right = true;
    for (const answer of answers) {
      const on = picked.has(answer.dataset.option);
      answer.hidden = !on;
      right &&= on === (answer.dataset.right === "1");
      inputs[answer.dataset.option].parentElement.dataset.verdict = on ? answer.dataset.right : "";
    }
    message.hidden = true;
    const several = inputs[0].type === "checkbox";
    if (several) say(right ? "All right options found." : "Not yet: some option is missing or wrong.");
  };

  let before = null;
  const commit = () => {
    const first = inputs[0];
    const guess = document.createElement("span");
    if (first.type === "radio") {
      if (chosen().length === 0) return say("Choose an answer first.");
      guess.append(...[...chosen()[0].nextElementSibling.childNodes].map((node) => node.cloneNode(true)));
    } else {
      if (first.value.trim() === "") return say("Write an answer first.");
      guess.textContent = `${first.value.trim()} ${first.nextElementSibling.textContent}`.trim();
    }
    if (before !== null && before.textContent === guess.textContent) return;
    message.replaceChildren("You predicted: ", ...(before === null ? [guess] : [before, ", then ", guess]));
    before = guess.cloneNode(true);
    message.hidden = false;
    answers[0].hidden = false;
  };

  button.addEventListener("click", ask.dataset.kind === "quiz" ? check : commit);
  if (inputs[0].type === "text" || inputs[0].type === "number") {
    inputs[0].addEventListener("keydown", (event) => {
      if (event.key === "Enter") commit();
    });
  }
}
