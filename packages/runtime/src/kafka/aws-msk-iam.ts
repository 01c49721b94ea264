import { type KafkaSettings, SIGNER_PACKAGE } from './settings.ts'
import { type Token, TokenError } from './token-cache.ts'

interface Signer {
  /** `expiryTime` is in milliseconds since 1970. */
  generateAuthToken(options: { region: string }): Promise<{ token: string; expiryTime: number }>
}

const load = async (importPackage: (name: string) => Promise<unknown>): Promise<Signer> => {
  try {
    return (await importPackage(SIGNER_PACKAGE)) as Signer
  } catch (error) {
    throw new TokenError(`the package ${SIGNER_PACKAGE} cannot be loaded (${(error as NodeJS.ErrnoException).code})`, {
      reason: 'authentication',
      hint: `KAFKA_SASL_MECHANISM=aws-msk-iam needs this package: npm install ${SIGNER_PACKAGE}.`,
    })
  }
}

/**
 * Signs a token for AWS MSK with the credentials of the environment: variables, a profile, or the
 * role of the machine or pod.
 * @throws TokenError if the package or the credentials are missing.
 */
export const signToken = async (
  { KAFKA_SASL_AWS_REGION = '' }: Pick<KafkaSettings, 'KAFKA_SASL_AWS_REGION'>,
  importPackage = (name: string): Promise<unknown> => import(name),
): Promise<Token> => {
  const signer = await load(importPackage)
  try {
    const { token, expiryTime } = await signer.generateAuthToken({ region: KAFKA_SASL_AWS_REGION })
    return { value: token, lifetimeMs: Math.max(expiryTime - Date.now(), 0) }
  } catch (error) {
    throw new TokenError(`AWS gave no credentials for a token (${(error as Error).message})`, {
      reason: 'authentication',
      hint: 'Check the role of this process, or its AWS_… variables, and KAFKA_SASL_AWS_REGION.',
    })
  }
}
