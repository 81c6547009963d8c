/** Names of hosts, as the browser writes them: markdown-it asks for this under the name of punycode.js. */
const toASCII = (name: string): string =>
  /[^\0-\x7f]/.test(name) && URL.canParse(`http://${name}`)
    ? new URL(`http://${name}`).hostname
    : name;
/** A name that looks like another one is better seen as it is sent. */
const toUnicode = (name: string): string => name;

export default { toASCII, toUnicode };
