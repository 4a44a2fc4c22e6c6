"""TGI's dialect and the hosting platforms that speak it: what routes read and how they answer."""
