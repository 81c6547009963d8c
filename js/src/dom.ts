/** A tag and its attributes → an element, every class under one prefix. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  name: string,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const element = bare(tag, name);
  for (const key in attributes) element.setAttribute(key, attributes[key] ?? "");
  if (children.length > 0) element.append(...children);
  return element;
}

/** A copy is made in half the time. */
const originals = new Map<string, Element>();

function bare<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  name: string,
): HTMLElementTagNameMap[Tag] {
  const key = `${tag} ${name}`;
  let original = originals.get(key);
  if (!original) {
    original = document.createElement(tag);
    original.className = `ssechat-${name}`;
    originals.set(key, original);
  }
  return original.cloneNode() as HTMLElementTagNameMap[Tag];
}

/** Write a text only when it is another one: what is selected or announced stays. */
export function write(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Whether what had the focus in this element is not to be seen any more. */
export const hides = (element: Element, focused: Element | null): boolean =>
  element.contains(focused) && !!focused?.closest("[hidden]");

/** A button; Jupyter's own keys (Enter, Space, …) stay away while it has the focus. */
export function makeButton(name: string, press: () => void): HTMLButtonElement {
  const button = make("button", `button ssechat-${name}`, {
    type: "button",
    "data-lm-suppress-shortcuts": "true",
  });
  button.addEventListener("click", press);
  return button;
}
