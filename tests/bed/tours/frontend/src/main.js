document.getElementById("root").textContent = "winter";
