% rebase('layout.tpl')
<div class="fault">
<h1>{{page.title}}</h1>
<p class="detail">{{page.to_do}}</p>
% if page.plain and page.detail:
<p lang="{{'en' if page.said == page.detail else lang}}">{{page.said[:1].upper() + page.said[1:]}}</p>
% end
% if page.errors:
<ul class="faults">
%   for error in page.errors:
  <li>
%     if error["pointer"]:
    <code>{{error["pointer"]}}</code>
%     end
    {{error["detail"]}}</li>
%   end
</ul>
% end
<p class="actions">
% if page.sign_in_href:
  <a class="button solid" href="{{page.sign_in_href}}">{{t("error.sign_in_other") if subject else t("common.sign_in")}}</a>
% end
% if page.again_href:
  <a class="button solid" href="{{page.again_href}}">{{t("common.try_again")}}</a>
% end
% if page.plain_href:
  <a class="button solid" href="{{page.plain_href}}">{{t("error.afresh")}}</a>
% end
% if page.now_href:
  <a class="button solid" href="{{page.now_href}}">{{t("error.open_again")}}</a>
% end
  <a class="button" href="{{url('')}}">{{t("common.home")}}</a>
</p>
% if page.kept:
%   include('_kept.tpl', kept=page.kept, lead=t("kept.safe"), label=t("common.try_again"))
% end
<details class="facts">
<summary>{{t("error.operators")}}</summary>
<dl class="meta">
  <div><dt>{{t("error.status")}}</dt><dd>{{page.status}} <code>{{page.code}}</code></dd></div>
  <div><dt>{{t("error.detail")}}</dt><dd lang="en" dir="ltr">{{page.detail}}</dd></div>
% if page.needed:
  <div><dt>{{t("error.grant")}}</dt><dd><code>{{page.needed}}</code></dd></div>
% end
  <div><dt>{{t("error.request")}}</dt><dd><code>{{page.request_id}}</code></dd></div>
</dl>
</details>
</div>
