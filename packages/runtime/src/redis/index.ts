export * from './client.ts'
export * from './diagnosis.ts'
export * from './durability.ts'
export * from './settings.ts'
