// Names for what the theme (9.8.2) builds in the browser without one, and a keyboard's way
// into what scrolls sideways. Runs again whenever the theme adds something.
(function () {
  "use strict";

  function name_all() {
    document.querySelectorAll(".md-code__nav").forEach(function (nav, index) {
      // Unique, because each of them is a landmark.
      nav.setAttribute("aria-label", "Code block " + (index + 1));
    });
    document.querySelectorAll("nav.md-nav[aria-labelledby]").forEach(function (nav) {
      // A section with a page of its own is labelled by an arrow without a word.
      const label = document.getElementById(nav.getAttribute("aria-labelledby"));
      if (!label || !label.textContent.trim()) {
        const title = nav.querySelector(".md-nav__title").textContent.trim();
        nav.removeAttribute("aria-labelledby");
        nav.setAttribute("aria-label", title);
      }
    });
    document.querySelectorAll(".md-typeset__scrollwrap").forEach(function (box) {
      // A table that is wider than the window scrolls inside this box.
      if (box.scrollWidth > box.clientWidth && box.tabIndex < 0) {
        box.tabIndex = 0;
        box.setAttribute("role", "group");
        box.setAttribute("aria-label", "Table, scrolls sideways");
      }
    });
  }

  // Once a frame, however much the theme adds in it: measuring widths makes the browser
  // lay out the page.
  let waiting = false;
  function soon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(function () {
      waiting = false;
      name_all();
    });
  }

  new MutationObserver(soon).observe(document.body, {
    childList: true,
    subtree: true,
  });
  window.addEventListener("resize", soon);
  soon();
})();
