import { expect, it } from 'vitest'
import { signToken } from './aws-msk-iam.ts'

const region = { KAFKA_SASL_AWS_REGION: 'eu-west-1' }

it('signToken returns a token for the region, and the remaining lifetime of the token', async () => {
  const asked: object[] = []
  const token = await signToken(region, async () => ({
    generateAuthToken: async (options: object) => {
      asked.push(options)
      return { token: 'signed', expiryTime: Date.now() + 900_000 }
    },
  }))
  expect(asked).toEqual([{ region: 'eu-west-1' }])
  expect(token.value).toBe('signed')
  expect(token.lifetimeMs).toBeGreaterThan(890_000)
  expect(token.lifetimeMs).toBeLessThanOrEqual(900_000)
})

it('the error names the optional package that is not installed', async () => {
  await expect(signToken(region)).rejects.toMatchObject({
    reason: 'authentication',
    message: expect.stringContaining('the package aws-msk-iam-sasl-signer-js cannot be loaded'),
    hint: expect.stringContaining('npm install aws-msk-iam-sasl-signer-js'),
  })
})

it('the error names the missing AWS credentials', async () => {
  const importPackage = async () => ({
    generateAuthToken: async () => {
      throw new Error('Could not load credentials from any providers')
    },
  })
  await expect(signToken(region, importPackage)).rejects.toMatchObject({
    reason: 'authentication',
    message: 'AWS gave no credentials for a token (Could not load credentials from any providers)',
  })
})
