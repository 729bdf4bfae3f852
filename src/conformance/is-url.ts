/** Whether what is to be verified lies at a server, and not in a folder. */
export function isUrl(target: string): boolean {
  return /^https?:\/\//.test(target);
}
