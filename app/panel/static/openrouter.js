// The table of keys renews itself; not under somebody who has ticked a row, opened a menu, or walks it by the keyboard.

const busy = "input:checked, :popover-open, tr[data-at], :focus-visible";

document.addEventListener("htmx:before:request", (event) => {
  if (event.target.matches?.("[data-hold]") && event.target.querySelector(busy)) event.preventDefault();
});
