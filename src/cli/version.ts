import { readPackageFile } from '../files/package-file.ts';

/** Which Bootseal this is. @throws IoError where the package is broken. */
export function ownVersion(): string {
  const { version } = JSON.parse(readPackageFile('.', 'package.json').toString()) as {
    readonly version: string;
  };
  return version;
}
