"use strict";
// Hides the tours that do not match what was typed.
document.getElementById("filter").addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const tour of document.querySelectorAll("article")) {
    tour.hidden = !tour.textContent.toLowerCase().includes(wanted);
  }
});
