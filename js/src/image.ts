/** A picture the model names → a button; the reader decides whether it is fetched. */
import { make, makeButton } from "./dom.ts";
import { hostOf, mayShow } from "./links.ts";

/** The button, or the text alone where there is nothing to fetch. */
export function pictureOffer(address: string, alt: string): HTMLElement {
  if (!mayShow(address)) return make("span", "picture-text", {}, alt);
  const host = hostOf(address);
  const button = makeButton("picture", () => button.replaceWith(picture(address, alt)));
  button.append(alt ? `Image: ${alt} ` : "Image ");
  button.append(make("span", "picture-host", {}, host));
  button.title = `Load the image from ${host}`;
  // A newer drawing of the same text keeps this very button only for the same picture.
  button.dataset["address"] = address;
  return button;
}

function picture(address: string, alt: string): HTMLImageElement {
  const image = make("img", "picture-shown", { alt, referrerpolicy: "no-referrer" });
  image.src = address;
  return image;
}
