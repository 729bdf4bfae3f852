import type { Manifest, ManifestFile } from '../../formats/records/manifest.ts';

/**
 * What is other than in a release that was signed before, in lines for whoever signs: files that changed, words that
 * came and went. Nothing is judged.
 */
export function changesSince(before: Manifest, now: Manifest): string[] {
  return [
    ...words('on the command line', before.cmdline, now.cmdline),
    ...words("on the module's command line", before.moduleCmdline ?? [], now.moduleCmdline ?? []),
    ...words('among what loaders may add', free(before), free(now)),
    ...(before.shell === now.shell ? [] : [now.shell ? 'a shell is allowed' : 'a shell is allowed no more']),
    ...(before.layout === now.layout ? [] : [`a system of ${now.layout}, and not of ${before.layout}`]),
    ...(before.arch === now.arch ? [] : [`for ${now.arch}, and not for ${before.arch}`]),
    ...(lifeOf(before) === lifeOf(now)
      ? []
      : [`good for ${lifeOf(now)} days, and not for ${lifeOf(before)}`]),
    ...(now.serial > before.serial ? [] : [`serial ${now.serial}, which is not above ${before.serial}`]),
    ...files(before.files, now.files),
  ];
}

/** Days from issue to best-before. */
function lifeOf({ issued, bestBefore }: Manifest): number {
  return Math.round((bestBefore - issued) / 86_400_000);
}

function free({ free: parameters }: Manifest): string[] {
  return parameters.map(({ name, type }) => `${name}=(${type})`);
}

function words(where: string, before: readonly string[], now: readonly string[]): string[] {
  const [added, removed] = [without(now, before), without(before, now)];
  if (added.length === 0 && removed.length === 0)
    return before.join(' ') === now.join(' ') ? [] : [`the order of the words ${where} changed`];
  return [
    ...added.map((word) => `new ${where}: ${word}`),
    ...removed.map((word) => `gone ${where}: ${word}`),
  ];
}

/** What `all` has more often than `others`. */
function without(all: readonly string[], others: readonly string[]): string[] {
  const rest = [...others];
  return all.filter((word) => {
    const at = rest.indexOf(word);
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
}

function files(before: readonly ManifestFile[], now: readonly ManifestFile[]): string[] {
  const old = new Map(before.map((file) => [file.path, file]));
  const changed = now.flatMap(({ role, path, sha256 }) => {
    const was = old.get(path);
    old.delete(path);
    if (!was) return [`new ${role}: ${path}`];
    if (was.role !== role) return [`${path} is the ${role}, and was the ${was.role}`];
    return was.sha256 === sha256 ? [] : [`another ${role}: ${path}`];
  });
  return [...changed, ...[...old.values()].map(({ role, path }) => `gone ${role}: ${path}`)];
}
