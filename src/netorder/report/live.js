// What a run does now, each second; when something was found, the page anew, with what is open, typed and in view.
let shown = "";
function say(html) {
  if (html === shown) return;
  shown = html;
  document.getElementById("now").innerHTML = html;
}
async function renewed() {
  const answer = await fetch("/");
  const found = new DOMParser().parseFromString(await answer.text(), "text/html");
  const open = [...document.querySelectorAll("details[id][open]")].map((one) => one.id);
  const typed = document.getElementById("filter") && document.getElementById("filter").value;
  const focused = document.activeElement.closest("[id]");
  const place = [scrollX, scrollY];
  for (const part of ["header", "main"]) document.querySelector(part).replaceWith(found.querySelector(part));
  document.body.dataset.version = found.body.dataset.version;
  for (const id of open) {
    const host = document.getElementById(id);
    if (host) host.open = true;
  }
  if (typed) document.getElementById("filter").value = typed;
  filtered();
  const again = focused && document.getElementById(focused.id);
  if (again) (again.querySelector("summary") || again).focus({ preventScroll: true });
  scrollTo(...place);
  shown = "";
}
async function look() {
  let wait = 1000;
  try {
    const said = await (await fetch("/now")).json();
    if (said.version !== document.body.dataset.version) await renewed();
    say(said.html);
  } catch {
    say('<p class="wrong">netorder report --serve has ended; this page is as it was then.</p>');
    wait = 5000;
  }
  setTimeout(look, wait);
}
look();
