"use strict";
// A link to a host opens what is said of it.
function show(hash) {
  const host = hash.startsWith("#host-") && document.getElementById(decodeURIComponent(hash.slice(1)));
  if (!host) return;
  host.hidden = false;
  host.open = true;
  host.scrollIntoView({ block: "start" });
  host.querySelector("summary").focus({ preventScroll: true });
}
addEventListener("click", (event) => {
  const link = event.target.closest("a");
  const hash = link && (link.getAttribute("href") || "");
  if (hash && hash.startsWith("#host-")) {
    event.preventDefault();
    history.replaceState(null, "", hash);
    show(hash);
  }
});
show(location.hash);
// Only those whose text has all the words.
function filtered() {
  const filter = document.getElementById("filter");
  if (!filter) return;
  filter.closest("p").hidden = false;
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const host of document.querySelectorAll("details.host")) {
    const text = host.textContent.toLowerCase();
    host.hidden = !words.every((word) => text.includes(word));
  }
}
addEventListener("input", (event) => event.target.id === "filter" && filtered());
filtered();
