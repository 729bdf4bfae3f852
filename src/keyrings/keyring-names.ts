import { UsageError } from '../errors/usage.ts';

/** A name that may stand in a file name and as an operating system's in VOA. Throws a `Refusal`. */
export function demandKeyringName(name: string): void {
  if (!/^[a-z0-9][a-z0-9._-]{0,62}$/.test(name)) {
    throw new UsageError(
      `${JSON.stringify(name)} is no name for a keyring: small letters, digits, dots, dashes; give --name.`,
    );
  }
}

/** UAPI.11: `OS` has up to five parts with colons between, none empty at the end. Throws a `Refusal`. */
export function voaPlace(text: string): string {
  const word = '[a-z0-9_-][a-z0-9._-]*';
  const os = `${word}(:(${word})?){0,3}(:${word})?`;
  if (text.length > 255 || !new RegExp(`^${os}/${word}/${word}$`).test(text) || text.includes(':/')) {
    throw new UsageError(
      `${JSON.stringify(text)} is no place in a VOA tree: OS/PURPOSE/CONTEXT, like arch/image/netboot.`,
    );
  }
  return text;
}
