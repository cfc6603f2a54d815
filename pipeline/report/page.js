const filters = document.querySelectorAll("#filters select");
const people = document.querySelectorAll("#gallery .person");
const count = document.querySelector("#count");

function show() {
  let shown = 0;
  for (const person of people) {
    person.hidden = [...filters].some((filter) => filter.value && person.dataset[filter.name] !== filter.value);
    shown += !person.hidden;
  }
  count.textContent = `${shown} of ${people.length} people`;
}

if (count) {
  document.querySelector("#filters").hidden = false;
  filters.forEach((filter) => filter.addEventListener("change", show));
  show();
}
