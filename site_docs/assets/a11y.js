// Names for what the theme (9.8.2) builds in the browser without one, and a keyboard's way
// into what scrolls sideways. Runs again whenever the theme adds something.
(function () {
  "use strict";

  function name_all() {
    document.querySelectorAll(".md-code__nav").forEach(function (nav, index) {
      // Unique, because each of them is a landmark.
      nav.setAttribute("aria-label", "Code block " + (index + 1));
    });
    document.querySelectorAll(".md-annotation__index").forEach(function (link) {
      if (!link.hasAttribute("aria-label")) {
        link.setAttribute("aria-label", "Note to this line");
      }
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

  new MutationObserver(name_all).observe(document.body, {
    childList: true,
    subtree: true,
  });
  window.addEventListener("resize", name_all);
  name_all();
})();
