// Keeps the page as it is now: the parts that changed are exchanged, none while a text is selected or nobody looks.
const EVERY = 1000;

async function refresh() {
  const answer = await fetch("/", { headers: { accept: "text/html" }, cache: "no-store" });
  if (!answer.ok) throw new Error(answer.statusText);
  const now = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of now.querySelectorAll("section[id], #away")) {
    const old = document.getElementById(part.id);
    if (old && old.outerHTML !== part.outerHTML) old.replaceWith(part);
  }
}

async function again() {
  if (!document.hidden && getSelection().isCollapsed) {
    try {
      await refresh();
    } catch {
      document.getElementById("away").hidden = false;
    }
  }
  setTimeout(again, EVERY);
}

setTimeout(again, EVERY);
