/** Kinds of characters, as the browser knows them: markdown-it asks for these under the name of uc.micro. */
export const Any = /[\s\S]/u;
export const Cc = /\p{Cc}/u;
export const Cf = /\p{Cf}/u;
export const P = /\p{P}/u;
export const S = /\p{S}/u;
export const Z = /\p{Z}/u;
