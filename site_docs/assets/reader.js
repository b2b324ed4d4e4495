// What the site remembers of its reader, in this browser only: which pages of the path are
// ticked, and the last heading that was read. And what it guesses: the operating system,
// whose tab stands in front until the reader chooses another.
(function () {
  "use strict";

  const KEY = "distrinews.path";

  // --- The operating system's tabs -------------------------------------------------

  // The theme (content.tabs.link) puts the tabs in front that the reader once chose.
  function guess_system() {
    try {
      if (window.__md_get("__tabs")) return;
    } catch (error) {
      // Without storage nothing was chosen.
    }
    const agent = navigator.userAgent;
    const system = /Windows/.test(agent) ? "Windows" : /Mac/.test(agent) ? "macOS" : "Linux";
    document.querySelectorAll(".tabbed-labels").forEach(function (labels) {
      const match = Array.from(labels.children).find(function (label) {
        return label.textContent.trim().startsWith(system);
      });
      if (match) document.getElementById(match.htmlFor).checked = true;
    });
  }

  // --- The path ------------------------------------------------------------------------

  function read_state() {
    try {
      const stored = JSON.parse(localStorage.getItem(KEY)) || {};
      return { ticked: Array.isArray(stored.ticked) ? stored.ticked : [], last: stored.last };
    } catch (error) {
      return { ticked: [] };
    }
  }

  function write_state(state) {
    try {
      localStorage.setItem(KEY, JSON.stringify(state));
    } catch (error) {
      // Without storage the ticks last as long as the page.
    }
  }

  function follow_path(path) {
    const root = new URL(path.root + "/", location.href);
    const here = path.pages.find((page) => page.url === path.here);
    const button = document.querySelector(".path-tick");
    const place = document.querySelector('[data-path="place"]');
    let state = read_state();

    function is_ticked(page) {
      return state.ticked.includes(page.url);
    }

    function address(page) {
      return new URL(page.url, root).href;
    }

    // Where to go on: in the page that was read last; once it is ticked, on the next one.
    function next_place() {
      const last = state.last && path.pages.find((page) => page.url === state.last.url);
      if (last && !is_ticked(last)) {
        return {
          text: state.last.heading ? `${last.title}, ${state.last.heading}` : last.title,
          address: address(last) + (state.last.anchor ? `#${state.last.anchor}` : ""),
        };
      }
      const behind = last ? path.pages.indexOf(last) + 1 : 0;
      const next =
        path.pages.slice(behind).find((page) => !is_ticked(page)) ||
        path.pages.find((page) => !is_ticked(page));
      return next && { text: next.title, address: address(next) };
    }

    function show_place() {
      place.textContent = "";
      if (!state.ticked.length && !state.last) return;
      const line = document.createElement("p");
      const num_ticked = path.pages.filter(is_ticked).length;
      const next = next_place();
      if (next) {
        const link = document.createElement("a");
        link.href = next.address;
        link.textContent = next.text;
        line.append("Continue at ", link, ". ");
      }
      line.append(`${num_ticked} of ${path.pages.length} pages ticked. `);
      const forget = document.createElement("button");
      forget.type = "button";
      forget.textContent = "Start over";
      forget.addEventListener("click", function () {
        state = { ticked: [] };
        write_state(state);
        show();
      });
      line.append(forget);
      place.append(line);
    }

    function show() {
      const ticked = path.pages.filter(is_ticked).map(address);
      const done = new Set(ticked.map((target) => new URL(target).pathname));
      const links = ".md-nav--primary a.md-nav__link[href]" + (place ? ", article a[href]" : "");
      document.querySelectorAll(links).forEach(function (link) {
        const target = new URL(link.href);
        link.classList.toggle("path-ticked", !target.hash && done.has(target.pathname));
      });
      if (button) {
        button.hidden = false;
        button.setAttribute("aria-pressed", String(is_ticked(here)));
      }
      if (place) show_place();
    }

    if (button && here) {
      button.addEventListener("click", function () {
        state = read_state(); // another tab may have ticked meanwhile
        state.ticked = is_ticked(here)
          ? state.ticked.filter((url) => url !== here.url)
          : state.ticked.concat(here.url);
        write_state(state);
        show();
      });
      watch_headings(function (heading) {
        state = read_state();
        state.last = {
          url: here.url,
          anchor: heading ? heading.id : "",
          heading: heading ? heading.firstChild.textContent.trim() : "",
        };
        write_state(state);
      });
    }
    window.addEventListener("storage", function (event) {
      if (event.key !== KEY) return;
      state = read_state();
      show();
    });
    show();
  }

  // Calls back with the heading that stands at the window's top, each time it is another.
  function watch_headings(call_back) {
    const headings = Array.from(document.querySelectorAll("article :is(h2, h3)[id]"));
    let last;
    let waiting = false;
    function look() {
      waiting = false;
      const above = headings.filter((heading) => heading.getBoundingClientRect().top < 160);
      const heading = above[above.length - 1];
      if (heading === last) return;
      last = heading;
      call_back(heading);
    }
    function soon() {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(look);
    }
    window.addEventListener("scroll", soon, { passive: true });
    last = null; // so that a page that is only opened counts, too
    soon();
  }

  guess_system();
  const data = document.getElementById("__path");
  if (data) follow_path(JSON.parse(data.textContent));
})();
