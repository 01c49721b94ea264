export * from './client.ts'
export * from './settings.ts'
