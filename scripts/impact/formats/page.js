"use strict";
const search = document.querySelector(".search");
const environments = [...document.querySelectorAll(".environment")];

function reveal() {
  const target = document.getElementById(location.hash.slice(1));
  if (!target) return;
  for (let element = target; element; element = element.parentElement) {
    element.hidden = false;
    if (element.localName === "details") element.open = true;
  }
  target.scrollIntoView();
}

if (search) {
  const field = search.querySelector("input");
  const status = search.querySelector("[role=status]");
  const texts = environments.map((environment) => environment.textContent.toLowerCase());
  const count = (sections) => sections.reduce((sum, one) => sum + Number(one.dataset.count), 0);

  const filter = () => {
    const words = field.value.toLowerCase().split(/\s+/);
    environments.forEach((environment, index) => {
      environment.hidden = !words.every((word) => texts[index].includes(word));
    });
    const risk = document.querySelector("[name=only]:checked").id.replace("only-", "is-");
    const shown = environments.filter((one) => !one.hidden && (!risk || one.matches(`.${risk}`)));
    status.textContent = `${count(shown)} of ${count(environments)} shown`;
  };

  search.hidden = false;
  field.addEventListener("input", filter);
  document.addEventListener("change", filter);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && event.target !== field && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      field.focus();
    } else if (event.key === "Escape" && event.target === field) {
      field.value = "";
      filter();
    }
  });
  filter();
}

addEventListener("hashchange", reveal);
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
reveal();
