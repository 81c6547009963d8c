/** Addresses the model wrote → the few kinds a reader may follow. */
const FOLLOWED = new Set(["http:", "https:", "mailto:"]);

/** The last answers: an address is asked about several times while its paragraph grows. */
const known = new Map<string, boolean>();
const KNOWN = 200;

/** Whether this is a whole http, https or mailto address; everything else stays text. */
export function mayFollow(address: string): boolean {
  const answered = known.get(address);
  if (answered !== undefined) return answered;
  if (known.size >= KNOWN) known.clear();
  const answer = isFollowed(address);
  known.set(address, answer);
  return answer;
}

function isFollowed(address: string): boolean {
  // Browsers drop tabs and line ends inside a scheme, and control characters before it.
  if (/^[\0-\x20]|[\t\n\r]/.test(address)) return false;
  try {
    return FOLLOWED.has(new URL(address).protocol);
  } catch {
    return false;
  }
}

/** Whether this is the address of a picture that may be asked for, on a click. */
export function mayShow(address: string): boolean {
  return mayFollow(address) && !/^mailto:/i.test(address);
}

/** Where it leads, for people; "" when nobody can tell. */
export function hostOf(address: string): string {
  return URL.canParse(address) ? new URL(address).host : "";
}
