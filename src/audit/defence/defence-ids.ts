export { DEFENCE_IDS } from '../../defences/registry.js';
