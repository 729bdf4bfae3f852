import { createHash } from 'node:crypto';
import { readPackageFile } from '../files/package-file.ts';
import type { AssetPaths } from './frame.ts';

/** Style and script of the pages, as they ship. */
export interface Asset {
  /** By its digest: `/assets/bootseal-0123456789ab.css`. */
  readonly path: string;
  /** `/assets/bootseal.css`, for people. */
  readonly plain: string;
  readonly type: string;
  readonly bytes: Uint8Array;
}

const FOLDER = 'src/web/assets';

/** Read once: a package that is replaced under a server that runs changes nothing of it. */
let read: { readonly paths: AssetPaths; readonly assets: readonly Asset[] } | undefined;

/** @throws IoError where the package is broken. */
export function readAssets(): { readonly paths: AssetPaths; readonly assets: readonly Asset[] } {
  if (read) return read;
  const style = readAsset('css', 'text/css; charset=utf-8');
  const script = readAsset('js', 'text/javascript; charset=utf-8');
  read = { paths: { style: style.path, script: script.path }, assets: [style, script] };
  return read;
}

function readAsset(extension: string, type: string): Asset {
  const bytes = readPackageFile(FOLDER, `bootseal.${extension}`);
  const digest = createHash('sha256').update(bytes).digest('hex').slice(0, 12);
  return {
    path: `/assets/bootseal-${digest}.${extension}`,
    plain: `/assets/bootseal.${extension}`,
    ...{ type, bytes },
  };
}
