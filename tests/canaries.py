"""URLs of databases that are wrong in the ways that passwords make them wrong, with a password to look for."""

CANARIES = ("Sup3rS", "S3cr3tPw")
"""The two parts of the password."""

MALFORMED = [
    "postgresql://shop:Sup3rS@S3cr3tPw@127.0.0.1:1/shop",
    "postgresql://shop:Sup3rS/S3cr3tPw@127.0.0.1:1/shop",
    "postgresql://shop:Sup3rS:S3cr3tPw@127.0.0.1:1/shop",
    "postgresql://shop:Sup3rS?S3cr3tPw@127.0.0.1:1/shop",
    "postgresql://shop:Sup3rS#S3cr3tPw@127.0.0.1:1/shop",
    "postgresql://shop:Sup3rS%S3cr3tPw@127.0.0.1:1/shop",
    "postgresql://shop:Sup3rS%zzS3cr3tPw@127.0.0.1:1/shop",
    "postgresql://shop:Sup3rS[S3cr3tPw]@127.0.0.1:1/shop",
    "postgresql://shop:[Sup3rS/S3cr3tPw@127.0.0.1:1/shop",
    "postgresql://shop:Sup3rS S3cr3tPw@127.0.0.1:1/shop",
    "postgresql://shop:Sup3rS\nS3cr3tPw@127.0.0.1:1/shop",
    "postgresql://shop:Sup3rS,S3cr3tPw@127.0.0.1:1/shop",
    "postgresql://shop:Sup3rS/@:S3cr3tPw@127.0.0.1:1/shop",
    "postgresql://shop:1234/S3cr3tPw@127.0.0.1:1/shop",
    "postgresql://shop:Sup3rS@S3cr3tPw",
    "postgresql://shop@Sup3rS/S3cr3tPw@127.0.0.1:1/shop",
    "postgresql://127.0.0.1:1/shop?user=shop&password=Sup3rS%zzS3cr3tPw",
    "postgresql://127.0.0.1:1/shop?user=shop&password=Sup3rS=S3cr3tPw",
    "postgres//shop:Sup3rS/S3cr3tPw@127.0.0.1:1/shop",
    "shop:Sup3rS@S3cr3tPw@127.0.0.1:1/shop",
    "host=127.0.0.1 port=1 password=Sup3rS S3cr3tPw dbname=shop",
    "host=127.0.0.1 port=1 password=Sup3rS S3cr3tPw=x dbname=shop",
    "host=127.0.0.1 port=1 password='Sup3rS S3cr3tPw dbname=shop",
    "mysql://shop:Sup3rS@S3cr3tPw@127.0.0.1/shop",
    "jdbc:postgresql://127.0.0.1:1/shop?user=shop&password=Sup3rS/S3cr3tPw",
    '"postgresql://shop:Sup3rS/S3cr3tPw@127.0.0.1:1/shop"',
]


def leaked(text: str) -> list[str]:
    """Return the parts of the password that a text shows, whatever their case."""
    return [part for part in CANARIES if part.lower() in text.lower()]
