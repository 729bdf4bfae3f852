import type { StoreBackend } from '../../src/store/backend.ts';

/** Records of which is told what is asked of them: `get log/checkpoint`. */
export function watched(base: StoreBackend, told: (what: string) => void): StoreBackend {
  const verb = <T>(name: string, key: string, work: () => Promise<T>): Promise<T> => {
    told(`${name} ${key}`);
    return work();
  };
  return {
    get: (key, most) => verb('get', key, () => base.get(key, most)),
    list: (prefix) => verb('list', prefix, () => base.list(prefix)),
    put: (key, bytes) => verb('put', key, () => base.put(key, bytes)),
    putIfAbsent: (key, bytes) => verb('putIfAbsent', key, () => base.putIfAbsent(key, bytes)),
    putFile: (key, file) => verb('putFile', key, () => base.putFile(key, file)),
    open: (key) => verb('open', key, () => base.open(key)),
    facts: (key) => verb('facts', key, () => base.facts(key)),
    copy: (from, to) => verb('copy', to, () => base.copy(from, to)),
    remove: (key) => verb('remove', key, () => base.remove(key)),
    compareAndSwap: (key, before, after) =>
      verb('compareAndSwap', key, () => base.compareAndSwap(key, before, after)),
  };
}
