// Wide pictures on a telephone. One that was drawn a second time, tall, needs nothing here
// (has-tall: extra.css shows the one that fits). One that can be cut (data-cut says at which
// x) shows its parts one below the other. Any other one is shown whole and small, and a
// button opens it over the whole screen, along its longer side.
(function () {
  "use strict";

  const SVG = "http://www.w3.org/2000/svg";
  const narrow = window.matchMedia("(max-width: 44em)");

  function element(name, attributes, children) {
    const made = document.createElementNS(SVG, name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    made.append(...children);
    return made;
  }

  function stack_parts(picture, number) {
    const { width, height } = picture.viewBox.baseVal;
    const cuts = picture.dataset.cut.split(" ").map(Number);
    const drawn = Array.from(picture.children).filter(
      (child) => !["title", "desc", "defs"].includes(child.tagName),
    );
    const id = `picture-${number}`;
    const starts = [0, ...cuts];
    const widths = [...cuts, width].map((end, part) => end - starts[part]);
    starts.forEach(function (start, part) {
      const window_of_part = {
        y: part * height,
        width: widths[part],
        height,
        viewBox: `${start} 0 ${widths[part]} ${height}`,
      };
      const content = part
        ? element("use", { href: `#${id}` }, [])
        : element("g", { id }, drawn);
      picture.append(element("svg", window_of_part, [content]));
    });
    picture.setAttribute(
      "viewBox",
      `0 0 ${Math.max(...widths)} ${starts.length * height}`,
    );
  }

  function close(figure, button) {
    figure.classList.remove("is-open");
    button.textContent = "Enlarge the picture";
    button.setAttribute("aria-expanded", "false");
  }

  function add_button(figure, picture) {
    const { width, height } = picture.viewBox.baseVal;
    figure.classList.toggle("is-turned", width > height);
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
  }

  document.querySelectorAll("figure.picture").forEach(function (figure, number) {
    const picture = figure.querySelector(":scope > svg");
    if (!picture || figure.classList.contains("has-tall")) return;
    if (!picture.dataset.cut) {
      add_button(figure, picture);
    } else {
      const stack = function () {
        if (!narrow.matches) return;
        narrow.removeEventListener("change", stack);
        stack_parts(picture, number);
      };
      narrow.addEventListener("change", stack);
      stack();
    }
  });
})();
