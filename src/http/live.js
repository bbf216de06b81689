// Keeps a page as it is now, without moving what is read: only the parts that changed are exchanged, and none while
// a text is selected or nobody looks.
const every = Number(document.body.dataset.every);

async function refresh() {
  const answer = await fetch(location.pathname, { headers: { accept: "text/html" }, cache: "no-store" });
  if (!answer.ok) throw new Error(answer.statusText);
  const now = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of now.querySelectorAll("header[id], section[id], #away")) {
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
  setTimeout(again, every);
}

setTimeout(again, every);
