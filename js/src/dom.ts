/** A tag and its attributes → an element, every class under one prefix. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  name: string,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  element.className = `ssechat-${name}`;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Write a text only when it is another one: what is selected or announced stays. */
export function write(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** A button; Jupyter's own keys (Enter, Space, …) stay away while it has the focus. */
export function makeButton(name: string, press: () => void): HTMLButtonElement {
  const button = make("button", `button ssechat-${name}`, {
    type: "button",
    "data-lm-suppress-shortcuts": "true",
  });
  button.addEventListener("click", press);
  return button;
}
