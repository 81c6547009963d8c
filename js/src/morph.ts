/** A tree that stands, a newer one → the same tree with as few changes as can be. */

/** Have this child, or a new last one for null, be equal to `fresh`; returns the one that stands now. */
export function place(parent: Node, at: Node | null, fresh: Node): Node {
  if (!at) return parent.appendChild(fresh);
  if (at === fresh) return at;
  if (grown(at, fresh)) return at;
  parent.replaceChild(fresh, at);
  return fresh;
}

/** Make the children after `kept`, or all for null, equal to `fresh`; nodes that need not change stay. */
export function morph(parent: Node, kept: Node | null, fresh: readonly Node[]): void {
  let at: ChildNode | null = kept ? kept.nextSibling : parent.firstChild;
  for (const node of fresh) {
    const standing: Node = at && grown(at, node) ? at : node;
    if (!at) parent.appendChild(node);
    else if (standing !== at) parent.replaceChild(node, at);
    at = standing.nextSibling;
  }
  while (at) {
    const next: ChildNode | null = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** Change a node into another one, if they are of a kind. */
function grown(standing: Node, fresh: Node): boolean {
  if (standing instanceof Text && fresh instanceof Text) {
    write(standing, fresh.data);
    return true;
  }
  if (!(standing instanceof Element && fresh instanceof Element)) return false;
  if (standing.nodeName !== fresh.nodeName || !sameAttributes(standing, fresh)) return false;
  direct(standing, fresh);
  // A formula that is typeset is told by its source.
  if (!standing.hasAttribute("data-tex")) morph(standing, null, [...fresh.childNodes]);
  return true;
}

function write(text: Text, data: string): void {
  if (text.data === data) return;
  if (data.startsWith(text.data)) text.appendData(data.slice(text.length));
  // What follows is drawn over by the next node: a selection stays in what is the same.
  else if (text.data.startsWith(data)) text.splitText(data.length);
  else text.data = data;
}

function sameAttributes(one: Element, other: Element): boolean {
  const names = one.getAttributeNames();
  return (
    names.length === other.getAttributeNames().length &&
    names.every((name) => name === "dir" || one.getAttribute(name) === other.getAttribute(name))
  );
}

/** A block without a letter yet may find its direction later. */
export function direct(standing: Element, fresh: Element): void {
  const direction = fresh.getAttribute("dir");
  if (direction && direction !== standing.getAttribute("dir")) {
    standing.setAttribute("dir", direction);
  }
}
