// What the browser keeps for this page: its key, the token that the gateway gave it, and messages that are not sent yet.

const STORES = /** @type {const} */ (["device", "outbox"]);

/** @typedef {typeof STORES[number]} Store */

/** @returns {Promise<IDBDatabase>} */
function database() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("verso", 2);
    opening.onupgradeneeded = () => {
      for (const name of STORES) if (!opening.result.objectStoreNames.contains(name)) opening.result.createObjectStore(name);
    };
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = opening.onblocked = () => reject(opening.error ?? new Error("the browser keeps nothing for this page"));
  });
}

/**
 * @param {Store} store @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => IDBRequest} work
 * @returns {Promise<any>}
 */
async function within(store, mode, work) {
  const db = await database();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = db.transaction(store, mode);
      const asking = work(transaction.objectStore(store));
      transaction.oncomplete = () => resolve(asking.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    db.close();
  }
}

/** @param {Store} store @param {string} name */
export const load = (store, name) => within(store, "readonly", (all) => all.get(name));

/** @param {Store} store */
export const loadAll = (store) => within(store, "readonly", (all) => all.getAll());

/** @param {Store} store @param {string} name @param {unknown} value */
export const keep = (store, name, value) => within(store, "readwrite", (all) => all.put(value, name));

/** @param {Store} store @param {string} name */
export const forget = (store, name) => within(store, "readwrite", (all) => all.delete(name));
