// A wide picture on a telephone: a button opens it over the whole screen, along its longer
// side. The button is seen only where the picture is wider than the window (extra.css).
(function () {
  "use strict";

  function close(figure, button) {
    figure.classList.remove("is-open");
    button.textContent = "Enlarge the picture";
    button.setAttribute("aria-expanded", "false");
  }

  document.querySelectorAll("figure.picture").forEach(function (figure) {
    if (!figure.querySelector(":scope > svg")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "picture-open";
    close(figure, button);
    button.addEventListener("click", function () {
      if (figure.classList.contains("is-open")) {
        close(figure, button);
        return;
      }
      figure.classList.add("is-open");
      button.textContent = "Close";
      button.setAttribute("aria-expanded", "true");
    });
    figure.addEventListener("keydown", function (event) {
      if (event.key === "Escape") close(figure, button);
    });
    figure.append(button);
  });
})();
